use bellwether_domain::ports::*;
#[tokio::test]
async fn spike() {
    let mut store = MockStore::new();
    store.expect_begin().returning(|| {
        let mut users = MockUsers::new();
        users.expect_load().returning(|_| Ok(vec![]));
        let mut uow = MockUnitOfWork::new();
        uow.expect_users().return_var(Box::new(users) as Box<dyn Users>);
        uow.expect_commit().returning(|| Ok(()));
        Ok(Box::new(uow))
    });
    let mut uow = store.begin().await.unwrap();
    assert!(uow.users().load(&[]).await.unwrap().is_empty());
    uow.commit().await.unwrap();
}
